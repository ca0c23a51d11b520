export { ByePage } from './ByePage';
export { LinkPage } from './LinkPage';
export { LoginPage } from './LoginPage';
export { SignInForm } from './SignInForm';
export { route } from './model';
