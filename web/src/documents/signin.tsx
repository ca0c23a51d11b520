import '../host/harden';
import '../kit/signin-parts';
import { ByePage, LaunchPage, LinkPage, LoginPage, route } from '../features/signin/public';
import { mount } from '../kit/Page';

function SignIn() {
  const r = route(location.pathname, location.search, location.origin);
  switch (r.page) {
    case 'bye':
      return <ByePage app={r.app} />;
    case 'launch':
      return <LaunchPage launch={r.launch} />;
    case 'link':
      return <LinkPage token={r.token} />;
    case 'login':
      return <LoginPage next={r.next} ended={r.ended} app={r.app} />;
  }
}

void mount(<SignIn />);
